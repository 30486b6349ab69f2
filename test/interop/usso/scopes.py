"""Ask the real USSO SDK about scopes: scopes.py QUESTIONS.jsonl

Each line is a call of check_access: {"scopes", "action", "resource",
"filters", "strict"}. Standard output has a line for each: true, false, or
"raised true" and "raised false" where the SDK raised ValueError for a scope
(strict, and paths of different lengths). That scope is then taken to grant
nothing, and the others are asked.
"""

import json
import sys

from usso.authorization import check_access


def ask(question, scopes):
    """Call the SDK."""
    return check_access(
        scopes,
        question["resource"],
        question["action"],
        filters=question["filters"],
        strict=question["strict"],
    )


def answer(question):
    """Return the SDK's answer, and what it would be without what it raises for."""
    try:
        return json.dumps(ask(question, question["scopes"]))
    except ValueError:
        return "raised " + json.dumps(lenient(question))


def lenient(question):
    for scope in question["scopes"]:
        try:
            if ask(question, [scope]):
                return True
        except ValueError:
            pass
    return False


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            print(answer(json.loads(line)))


if __name__ == "__main__":
    main()
