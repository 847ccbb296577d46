import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.training.schedule import schedule
from harness.training.settings import Distillation, QATParams, Recipe, qat_recipe

recipes = st.builds(
    Recipe,
    max_epochs=st.integers(1, 400),
    batch_size=st.integers(1, 1024),
    initial_lr=st.floats(1e-5, 1.0),
    warmup_initial_lr=st.floats(0.0, 1.0),
    weight_decay=st.floats(0.0, 0.1),
    lr_warmup_epochs=st.integers(0, 20),
    cosine_final_lr_ratio=st.floats(0.001, 1.0),
    ema=st.booleans(),
)


class TestQatRules:
    """SuperGradients' rules of thumb, with its default divisors."""

    def test_every_rule_on_a_long_recipe(self):
        recipe = Recipe(
            max_epochs=250,
            batch_size=256,
            optimizer="adamw",
            initial_lr=0.1,
            warmup_initial_lr=0.02,
            weight_decay=0.0005,
            lr_warmup_epochs=5,
            cosine_final_lr_ratio=0.1,
            label_smoothing=0.1,
            ema=True,
            seed=7,
        )
        changed = qat_recipe(recipe, QATParams()).model_dump()
        assert changed.pop("augmentations") == recipe.augmentations
        assert (changed.pop("early_stop_epochs"), changed.pop("distillation")) == (None, None)
        assert changed == pytest.approx(
            {
                "max_epochs": 25,  # 250 // 10
                "batch_size": 128,  # 256 // 2
                "optimizer": "adamw",
                "initial_lr": 0.001,  # 0.1 * 0.01
                "momentum": 0.9,
                "weight_decay": 0.000005,  # 0.0005 * 0.01
                "lr_warmup_epochs": 2,  # 25 // 10
                "warmup_initial_lr": 0.0002,  # 0.02 * 0.01
                "cosine_final_lr_ratio": 0.01,
                "label_smoothing": 0.1,
                "ema": False,
                "seed": 7,
            }
        )

    @pytest.mark.parametrize(
        ("epochs", "qat_epochs", "warmup_epochs"),
        [(1, 1, 1), (5, 1, 1), (19, 1, 1), (20, 2, 1), (100, 10, 1), (300, 30, 3)],
    )
    def test_epochs_are_a_tenth_and_warm_up_a_tenth_of_those_but_at_least_one(self, epochs, qat_epochs, warmup_epochs):
        changed = qat_recipe(Recipe(max_epochs=epochs), QATParams())
        assert (changed.max_epochs, changed.lr_warmup_epochs) == (qat_epochs, warmup_epochs)

    @pytest.mark.parametrize(
        ("rule", "learned_ranges", "batch_size"),
        [("always", False, 64), ("always", True, 64), ("learned_ranges", False, 128), ("learned_ranges", True, 64)],
    )
    def test_the_batch_is_halved_always_or_only_with_learned_ranges(self, rule, learned_ranges, batch_size):
        rules = QATParams(batch_size_rule=rule)
        assert qat_recipe(Recipe(batch_size=128), rules, learned_ranges=learned_ranges).batch_size == batch_size

    def test_early_stop_and_distillation_are_those_of_the_rules(self):
        rules = QATParams(early_stop_epochs=2, distillation=Distillation(weight=0.3, temperature=2))
        changed = qat_recipe(Recipe(early_stop_epochs=9), rules)
        assert changed.early_stop_epochs == 2
        assert changed.distillation == Distillation(weight=0.3, temperature=2)

    def test_a_batch_of_one_stays_one(self):
        assert qat_recipe(Recipe(batch_size=1), QATParams()).batch_size == 1

    def test_augmentations_go_only_on_request(self):
        recipe = Recipe(augmentations=("horizontal_flip",))
        assert qat_recipe(recipe, QATParams()).augmentations == ("horizontal_flip",)
        assert qat_recipe(recipe, QATParams(disable_augmentations=True)).augmentations == ()

    @given(recipes)
    def test_the_result_is_a_valid_recipe(self, recipe):
        changed = qat_recipe(recipe, QATParams())
        assert Recipe(**changed.model_dump()) == changed


@pytest.mark.parametrize(
    "fields",
    [
        {"max_epochs": 0},
        {"initial_lr": 0.0},
        {"momentum": 1.0},
        {"optimizer": "lion"},
        {"initial_lr": float("inf")},
        {"epochs": 3},
    ],
)
def test_recipes_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValidationError):
        Recipe(**fields)


class TestSchedule:
    def test_linear_warm_up_then_cosine(self):
        recipe = Recipe(
            max_epochs=3, initial_lr=1.0, warmup_initial_lr=0.2, lr_warmup_epochs=1, cosine_final_lr_ratio=0.1
        )
        lrs = [schedule(recipe, steps_per_epoch=4).lr(step) for step in range(12)]
        # Warm-up over 4 steps from 0.2 by (1 - 0.2) / 4 = 0.2 each.
        assert lrs[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
        # Step 4 is the peak, step 11 the end: 0.1 + 0.9 / 2 * (1 + cos(pi * k / 7)); 0.1 + 0.45 * 1.9009 at k = 1.
        assert lrs[4] == 1.0
        assert lrs[5] == pytest.approx(0.9554, abs=1e-4)
        assert lrs[11] == pytest.approx(0.1)

    def test_without_warm_up_the_first_step_is_the_peak(self):
        recipe = Recipe(max_epochs=2, initial_lr=0.5, lr_warmup_epochs=0, cosine_final_lr_ratio=0.5)
        lrs = [schedule(recipe, steps_per_epoch=2).lr(step) for step in range(4)]
        # 0.25 + 0.125 * (1 + cos(pi * k / 3)): cosines 1, 0.5, -0.5, -1
        assert lrs == pytest.approx([0.5, 0.4375, 0.3125, 0.25])

    def test_a_warm_up_as_long_as_the_training_is_cut_to_a_tenth_of_it(self):
        recipe = qat_recipe(Recipe(max_epochs=5, initial_lr=0.1, warmup_initial_lr=0.01), QATParams())
        assert (recipe.max_epochs, recipe.lr_warmup_epochs) == (1, 1)
        lrs = [schedule(recipe, steps_per_epoch=20).lr(step) for step in range(20)]
        # 20 * 0.1 = 2 steps of warm-up: 0.0001, 0.00055; then the peak 0.1 * 0.01, and down to 1 % of it.
        assert lrs[:3] == pytest.approx([0.0001, 0.00055, 0.001])
        assert lrs[19] == pytest.approx(0.00001)

    def test_a_warm_up_that_starts_above_the_peak_starts_at_the_peak(self):
        recipe = Recipe(max_epochs=2, initial_lr=0.001, warmup_initial_lr=0.01)
        assert schedule(recipe, steps_per_epoch=10).lr(0) == 0.001

    def test_a_single_step_has_the_peak(self):
        assert schedule(Recipe(max_epochs=1, initial_lr=0.3), steps_per_epoch=1).lr(0) == 0.3

    @given(recipe=recipes, steps_per_epoch=st.integers(1, 50))
    def test_every_step_has_a_positive_rate_of_at_most_the_peak(self, recipe, steps_per_epoch):
        plan = schedule(recipe, steps_per_epoch)
        lrs = [plan.lr(step) for step in range(0, plan.total_steps, max(1, plan.total_steps // 100))]
        assert all(0 <= lr <= recipe.initial_lr * (1 + 1e-9) for lr in lrs)
        falling = [plan.lr(step) for step in range(plan.warmup_steps, plan.total_steps)]
        assert falling == sorted(falling, reverse=True)
