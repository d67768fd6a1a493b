"""The pytest of a user's environment: without the plugins of our own tests, which take longer to load than all else."""

OPTIONS = ("-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:hypothesispytest")
