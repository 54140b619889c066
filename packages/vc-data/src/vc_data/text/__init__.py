"""From text to values: what words in foreign files mean. Knows no table and no screen."""
