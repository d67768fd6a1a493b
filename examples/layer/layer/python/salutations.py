"""Shared by every function that has the layer: below /opt/python, which is on sys.path."""

SALUTATIONS = {"en": "Dear", "de": "Liebe"}


def salutation(name, language="en"):
    return "{} {},".format(SALUTATIONS[language], name)
