"""The error of settings that cannot be used, apart from them: whoever tells it need not load what reads them."""


class SettingsError(Exception):
    """The settings contradict each other or lack something; the message is one line and shows no value."""
