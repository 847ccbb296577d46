"""What the operating system and the driver say of memory and energy; every probe can be absent, and says why."""
