pytest_plugins = ["support.needs"]


def pytest_addoption(parser):
    parser.addoption("--clients", type=int, default=60, help="clients of the rolling restart")
