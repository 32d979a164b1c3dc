"""A process that answers questions, and whose death is an answer too."""

import json
import subprocess
import tempfile
import threading


class Crash(Exception):
    """The process ended, or was ended, before it answered; the message says how."""


class Isolated:
    """A process that reads one line of JSON per question and writes one line of JSON, a dict, per answer.

    It is started by the first question and, after a crash, by the next one. Lines that are no dict are
    passed over, so that libraries may print what they like.

    Args:
        command: list of arguments.
        limit_s: seconds that an answer may take; the process is ended after them.
        renew: start a fresh process after so many answers, which gives memory back.
        **options: of ``subprocess.Popen``.
    """

    def __init__(self, command, limit_s=1200, renew=20, **options):
        self.command, self.limit_s, self.renew, self.options = command, limit_s, renew, options
        self.process, self.answers, self.errors = None, 0, None

    def ask(self, question):
        """The answer. Raises ``Crash``."""
        if self.process is None:
            self._start()
        late = threading.Timer(self.limit_s, self.process.kill)
        late.start()
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            answer = self._answer()
        except BrokenPipeError:
            answer = None
        finally:
            late.cancel()
        if answer is None:
            reason = self._reason()
            self.close()
            raise Crash(reason)
        self.answers += 1
        if self.answers == self.renew:
            self.close()
        return answer

    def close(self):
        """Ends the process, if there is one."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.stdout.close()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def _start(self):
        self.errors = tempfile.TemporaryFile("w+")
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.process, self.answers = subprocess.Popen(self.command, **pipes, **self.options), 0

    def _answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        return None

    def _reason(self):
        code = self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors if line.strip()]
        if code == -9:
            return f"killed after {self.limit_s} s, or for its memory"
        return f"exit code {code}" + (f" ({lines[-1][:300]})" if lines else "")
