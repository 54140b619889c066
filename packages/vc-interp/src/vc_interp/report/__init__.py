"""One offline page of everything that was found: search by gene, feature by feature."""
