"""What an option is, and the options: flags, environment, file and defaults become one Config."""
