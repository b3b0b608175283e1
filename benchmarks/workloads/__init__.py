"""One module for each row of the table: its ``cases(setting)`` yields what is to be run."""
