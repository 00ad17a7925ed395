"""Calls that may hang for ever: statvfs on a dead NFS server does, in a state that no signal ends.

They are made by a thread of their own. One that does not come back keeps its thread, and is not made again until it does,
so that there are never more threads than hanging calls and one.
"""

import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, Generic, TypeVar

R = TypeVar("R")
_SHARE: Final = 4  # one call may use this part of the deadline: others are to be asked too


class Stuck:
    """In place of an answer: none came in time."""


class _Worker(Generic[R]):
    def __init__(self, call: Callable[[str], R]) -> None:
        self._call = call
        self._questions: SimpleQueue[str | None] = SimpleQueue()
        self._answers: SimpleQueue[R | OSError] = SimpleQueue()
        Thread(target=self._work, name="patience", daemon=True).start()

    def ask(self, question: str) -> None:
        self._questions.put(question)

    def answer(self, seconds: float) -> R | OSError | None:
        """None if there is none within ``seconds``."""
        try:
            return self._answers.get(timeout=seconds) if seconds > 0 else self._answers.get_nowait()
        except Empty:
            return None

    def end(self) -> None:
        self._questions.put(None)

    def _work(self) -> None:
        while (question := self._questions.get()) is not None:
            try:
                self._answers.put(self._call(question))
            except OSError as error:
                self._answers.put(error)
            except Exception as error:  # noqa: BLE001 – a thread that ended would look like one that hangs
                self._answers.put(OSError(0, f"{type(error).__name__}: {error}"))


class Asker(Generic[R]):
    """``call`` of many things within ``deadline_s`` for all of them."""

    def __init__(self, call: Callable[[str], R], deadline_s: float) -> None:
        self._call = call
        self._deadline_s = deadline_s
        self._idle: _Worker[R] | None = None
        self._stuck: dict[str, _Worker[R]] = {}

    def ask(self, questions: Iterable[str]) -> dict[str, R | OSError | Stuck]:
        """An answer to each; those for which no time was left are missing.

        The answer of a call that came back since is taken as this one's: it is younger than the last tick.
        """
        wanted = list(questions)
        end = time.monotonic() + self._deadline_s
        answers = self._late()
        for question in wanted:
            if question in answers:
                continue
            if question in self._stuck:
                answers[question] = Stuck()
            elif (left := end - time.monotonic()) > 0:
                answers[question] = self._one(question, min(left, self._deadline_s / _SHARE))
        return {question: answers[question] for question in wanted if question in answers}

    def _late(self) -> dict[str, R | OSError | Stuck]:
        answers: dict[str, R | OSError | Stuck] = {}
        for question, worker in list(self._stuck.items()):
            answer = worker.answer(0)
            if answer is not None:
                answers[question] = answer
                worker.end()
                del self._stuck[question]
        return answers

    def _one(self, question: str, seconds: float) -> R | OSError | Stuck:
        worker, self._idle = self._idle or _Worker(self._call), None
        worker.ask(question)
        answer = worker.answer(seconds)
        if answer is None:
            self._stuck[question] = worker
            return Stuck()
        self._idle = worker
        return answer
