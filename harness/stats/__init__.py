"""Statistics: intervals, tests and what they prove; numbers in, numbers out."""
