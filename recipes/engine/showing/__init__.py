"""Tables, figures, the report and the live view, from the files of the cells."""
