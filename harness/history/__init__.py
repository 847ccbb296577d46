"""What every run found, kept in one database file, and where figures made a lasting step.

`figures.py`: a run as flat records. `database.py`: the file. `steps.py`: what a step is. `trends.py`: from records to
series with their steps. `report/history_words.py` has them in words.
"""
