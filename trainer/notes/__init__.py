"""Sections of notes by a small decoder: a task of the loop, judged offline and not served yet."""
