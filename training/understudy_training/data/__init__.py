"""Making, checking and showing data sets: the verbs `understudy dataset ...`."""
