"""Banks from vectors that already exist: tables of users, and the effects of other screens."""
