"""Named PBXes: the config file, their passwords, and commands for all of them."""
