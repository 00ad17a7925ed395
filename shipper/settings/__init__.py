"""What an option is, and the options: from flags, environment, file and defaults to one Config."""
