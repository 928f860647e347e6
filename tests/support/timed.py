"""Where the time of a test program goes."""
import time
import unittest


class TimedResult(unittest.TextTestResult):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seconds = {}

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        self.seconds[test.id().removeprefix("__main__.")] = time.monotonic() - self.began

    def slowest(self, most):
        """Of so many tests: name and seconds, in a line."""
        row = sorted(self.seconds.items(), key=lambda item: -item[1])[:most]
        return ", ".join(f"{name} {seconds:.0f}" for name, seconds in row)
