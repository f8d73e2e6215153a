# Objects of every kind that Python programs make: strings, lists, dictionaries, instances, JSON text, regular expressions.
import json
import re
import sys
from collections import defaultdict


class Account:
    def __init__(self, name, balance):
        self.name = name
        self.balance = balance
        self.history = []

    def book(self, amount, text):
        self.balance += amount
        self.history.append((amount, text))
        if len(self.history) > 40:
            self.history = self.history[20:]


def numbers(seed):
    while True:
        seed = (seed * 1103515245 + 12345) % 2147483648
        yield seed >> 8


def round_of(draw):
    accounts = {f"account-{i}": Account(f"account-{i}", i) for i in range(2000)}
    for i in range(12000):
        accounts[f"account-{next(draw) % 2000}"].book(next(draw) % 1000 - 500, f"entry {i} of {next(draw)}")
    records = [{"name": a.name, "balance": a.balance, "last": a.history[-5:]} for a in accounts.values()]
    again = json.loads(json.dumps(records))
    by_balance = defaultdict(list)
    for record in again:
        by_balance[record["balance"] // 100].append(record["name"])
    words = re.findall(r"[a-z]+-(\d+)", " ".join(name for names in by_balance.values() for name in names))
    text = "".join(sorted(words)).encode()
    return sum(text[::7]) + len(by_balance) + sum(len(a.history) for a in accounts.values())


draw = numbers(1)
total = 0
for _ in range(int(sys.argv[1])):
    total = (total * 31 + round_of(draw)) % 1000000007
print(total)
