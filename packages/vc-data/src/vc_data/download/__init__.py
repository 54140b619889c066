"""Files of public data sets, whole and checked."""
