"""When the verdicts are looked at."""


def test_looks_grow_by_half_and_end_with_the_last_process(plan):
    # 4 -> 6 -> 9 -> ceil(13.5) = 14 -> 16.
    assert plan.model_copy(update={"min_processes": 4, "max_processes": 16}).analyses == (4, 6, 9, 14, 16)
    assert plan.model_copy(update={"min_processes": 5, "max_processes": 5}).analyses == (5,)
    assert plan.model_copy(update={"min_processes": 2, "max_processes": 3}).analyses == (2, 3)


def test_a_process_has_its_share_of_the_budget(plan):
    assert plan.model_copy(update={"min_processes": 4, "budget_s": 20.0}).process_s == 5.0
