pytest_plugins = ["support.needs"]
