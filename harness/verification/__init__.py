"""Every step from the user's network to the engine, checked in numbers on a few samples where its result is made."""
