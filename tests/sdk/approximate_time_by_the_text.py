"""The ApproximateTime rule once more, word by word: slow, plain, and sharing nothing with the library's.

State by topic number i: queue Q[i], hidden list P[i], dropped[i], lower bound L[i]. A message is (topic, stamp, serial
number). The age penalty is a whole number of percent, so that every comparison is exact.
"""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    topic: int
    stamp: int
    serial: int


class TextRule:
    def __init__(self, n: int, K: int, percent: int = 10, M: int | None = None, L: list[int] | None = None) -> None:
        self.n, self.K, self.percent, self.M = n, K, percent, M
        self.L = L if L is not None else [0] * n
        self.Q: list[list[Message]] = [[] for _ in range(n)]
        self.P: list[list[Message]] = [[] for _ in range(n)]
        self.dropped = [False] * n
        self.candidate: list[Message] | None = None
        self.cs = self.ce = self.p = self.tp = -1
        self.published: list[list[Message]] = []
        self.gone: list[Message] = []

    def arrival(self, i: int, message: Message) -> list[list[Message]]:
        """Append; search if that made every queue non-empty; then forget the oldest of a queue that is too long."""
        self.published = []
        was_empty = self.Q[i] == []
        self.Q[i].append(message)
        if was_empty and self.every_queue_is_non_empty():
            self.search()
        if len(self.Q[i]) + len(self.P[i]) > self.K:
            self.put_all_hidden_back()
            self.gone.append(self.Q[i].pop(0))
            self.dropped[i] = True
            if self.candidate is not None:
                self.candidate = None
                self.search()
        return self.published

    def every_queue_is_non_empty(self) -> bool:
        return [] not in self.Q

    def put_all_hidden_back(self) -> None:
        for j in range(self.n):
            self.Q[j] = self.P[j] + self.Q[j]
            self.P[j] = []

    def clear_all_hidden(self) -> None:
        for j in range(self.n):
            self.gone += self.P[j]
            self.P[j] = []

    def hide_head(self, j: int) -> None:
        self.P[j].append(self.Q[j].pop(0))

    def aged(self, difference: int) -> int:
        """`difference * (1 + a)`, in hundredths."""
        return difference * (100 + self.percent)

    def search(self) -> None:  # noqa: C901 - in one piece and in the order of the text
        while self.every_queue_is_non_empty():
            # 1. smallest head stamp, lowest number on ties; largest, highest number on ties
            s = e = 0
            for j in range(1, self.n):
                if self.Q[j][0].stamp < self.Q[s][0].stamp:
                    s = j
                if self.Q[j][0].stamp >= self.Q[e][0].stamp:
                    e = j
            start, end = self.Q[s][0].stamp, self.Q[e][0].stamp
            # 2.
            for j in range(self.n):
                if j != e:
                    self.dropped[j] = False
            # 3. and 4.
            if self.candidate is None:
                if (self.M is not None and end - start > self.M) or self.dropped[e]:
                    self.gone.append(self.Q[s].pop(0))
                    continue
                self.candidate = [self.Q[j][0] for j in range(self.n)]
                self.clear_all_hidden()
                self.cs, self.ce, self.p, self.tp = start, end, e, end
                self.hide_head(s)
            else:
                if self.aged(end - self.ce) < 100 * (start - self.cs):
                    self.candidate = [self.Q[j][0] for j in range(self.n)]
                    self.clear_all_hidden()
                    self.cs, self.ce = start, end
                self.hide_head(s)
            # 5.
            if s == self.p:  # noqa: SIM114 - two sentences of the text
                self.emit()
            elif self.aged(end - self.ce) >= 100 * (self.tp - self.cs):
                self.emit()
            elif not self.every_queue_is_non_empty():
                self.look_ahead()

    def look_ahead(self) -> None:
        hidden_here: list[int] = []
        while True:
            virtual = []
            for j in range(self.n):
                if self.Q[j]:
                    virtual.append(self.Q[j][0].stamp)
                else:
                    virtual.append(max(self.P[j][-1].stamp + self.L[j], self.tp))
            v_start, v_end = min(virtual), max(virtual)
            if self.aged(v_end - self.ce) >= 100 * (self.tp - self.cs):
                self.emit()
                return
            if self.aged(v_end - self.ce) < 100 * (v_start - self.cs):
                for j in reversed(hidden_here):
                    self.Q[j].insert(0, self.P[j].pop())
                return
            j = virtual.index(v_start)
            self.hide_head(j)
            hidden_here.append(j)

    def emit(self) -> None:
        assert self.candidate is not None
        self.published.append(self.candidate)
        self.put_all_hidden_back()
        for j in range(self.n):
            front = self.Q[j].pop(0)
            assert front == self.candidate[j], "the members of the candidate are the fronts of the queues"
        self.candidate = None
        self.cs = self.ce = self.p = self.tp = -1
