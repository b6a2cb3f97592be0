"""Pairs of English sentences of graded likeness, drawn from a small grammar, the same on every machine."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from hwmodel.evaluation.datasets.draws import Draws

SEED = 2021
PAIRS = 500
KINDS = ("reworded", "one word changed", "same subject", "unrelated")
"""How the second sentence of a pair comes from the first; pair `i` is of kind ``i % 4``."""

# Of each subject who, does, what, where; wordings of one thing with "=" between them. What is one word.
_SUBJECTS = """
the cook=the chef, my grandmother=my grandma, our host=the man who invited us
prepared=made, tasted=tried, burnt=scorched, served=handed out
soup, bread, rice, cake, sauce, fish
in the kitchen=at the stove, in the small restaurant=in the little diner, for the guests=for the visitors

the gardener=the man who keeps the garden, our neighbour=the woman next door, the children=the kids
watered=gave water to, planted=put into the ground, picked=gathered, cut=trimmed
roses, tomatoes, trees, grass, herbs, potatoes
behind the house=in the back yard, near the old wall=by the ancient wall, in the park=on the public green

the engineer=the technician, the driver=the man at the wheel, the mechanic=the repair man
repaired=fixed, inspected=examined, started=switched on, stopped=halted
train, engine, truck, bus, brakes, wheels
in the workshop=in the garage, at the station=on the platform, on the motorway=on the highway

the doctor=the physician, the nurse=the woman who looks after the sick, the surgeon=the operating doctor
examined=looked at, treated=took care of, described=gave an account of, noticed=became aware of
wound, fever, patient, knee, heart, infection
in the hospital=at the clinic, in the emergency room=at the casualty ward, during the visit=on the round

the pianist=the woman at the piano, the choir=the group of singers, the band=the group
performed=played, rehearsed=practised, recorded=taped, composed=wrote
concerto, song, symphony, waltz, hymn, overture
in the concert hall=on the big stage, in the studio=in the recording room, for a small crowd=for few people

the teacher=the schoolmistress, the pupils=the schoolchildren, the professor=the lecturer
explained=made clear, studied=learnt, discussed=talked about, solved=worked out
equation, poem, grammar, theorem, homework, experiment
in the classroom=at school, in the library=among the books, before the exam=ahead of the test

the captain=the skipper, the sailors=the crew, the fisherman=the man with the nets
spotted=saw, followed=went after, lost=no longer had, reached=arrived at
island, harbour, whale, lighthouse, ship, storm
on the open sea=far out on the ocean, along the coast=near the shore, in heavy rain=in a downpour

the goalkeeper=the keeper, the striker=the forward, the coach=the trainer
missed=failed to get, celebrated=cheered, watched=looked at, practised=trained
goal, penalty, match, trophy, corner, victory
in the stadium=at the football ground, in the second half=after the break, before the fans=for the supporters

the bank=the lender, the investor=the woman who invests, the manager=the head of the firm
paid=settled, refused=turned down, calculated=worked out, raised=increased
loan, tax, price, rent, wages, dividend
in the office=at the desk, in the city=in town, because of inflation=as money lost its value

the programmer=the developer, the student=the woman at college, the company=the firm
deleted=erased, installed=set up, tested=tried out, published=released
software, database, website, program, update, password
on the old computer=on an aged machine, on the server=in the data centre, over the network=through the web

the actress=the leading lady, the director=the film maker, the audience=the people in the seats
praised=spoke well of, criticised=found fault with, remembered=had not forgotten, enjoyed=liked
comedy, film, scene, tragedy, costume, dialogue
in the theatre=at the playhouse, at the festival=during the film week, on the first night=at the premiere

the judge=the magistrate, the lawyer=the attorney, the witness=the woman who saw it
questioned=cast doubt on, read=went through, denied=disputed, accepted=agreed to
evidence, contract, verdict, testimony, appeal, confession
in the courtroom=in court, after the trial=when the case was over, in public=in front of everybody
"""
_TIMES = """
yesterday=the day before today, last week=a week ago, in the morning=early in the day,
at midnight=in the middle of the night, in winter=in the cold season, three years ago=three years back
"""

_WHO, _DOES, _WHAT, _WHERE, _WHEN = range(5)
_WORDINGS = 2


class SentencePair(NamedTuple):
    """Two sentences, and how like they are.

    Attributes
    ----------
    first, second : str
    kind : str
        One of `KINDS`.
    """

    first: str
    second: str
    kind: str


@cache
def _subjects() -> list[list[list[list[str]]]]:
    """Give the wordings, by subject, part and thing."""

    def things(line: str) -> list[list[str]]:
        return [thing.strip().split("=") for thing in line.split(",")]

    times = things(" ".join(_TIMES.split()))
    return [[*map(things, block.splitlines()), times] for block in _SUBJECTS.strip().split("\n\n")]


def _sentence(subject: int, things: list[int], wordings: list[int], time_first: int) -> str:
    """Put chosen things into words."""
    parts = zip(_subjects()[subject], things, wordings, strict=True)
    words = [part[thing][wording % len(part[thing])] for part, thing, wording in parts]
    body = f"{words[_WHO]} {words[_DOES]} the {words[_WHAT]} {words[_WHERE]}"
    text = f"{words[_WHEN]}, {body}" if time_first else f"{body} {words[_WHEN]}"
    return f"{text[0].upper()}{text[1:]}."


def _things(draws: Draws, subject: int) -> list[int]:
    return [draws.one(0, len(part) - 1) for part in _subjects()[subject]]


def _another(draws: Draws, count: int, than: int) -> int:
    """Draw a number below `count`, but not `than`."""
    return (than + draws.one(1, count - 1)) % count


def sentence_pair(index: int, seed: int = SEED) -> SentencePair:
    """Make one pair; it depends on no other.

    A reworded sentence says the same with other words, and has the time at its other end. A changed word is
    another thing that the same is done to. A sentence of the same subject differs in who, what and where.

    Examples
    --------
    >>> pair = sentence_pair(1)
    >>> pair.first
    'The pianist taped the song for few people early in the day.'
    >>> pair.second, pair.kind
    ('The pianist taped the symphony for few people early in the day.', 'one word changed')
    """
    draws = Draws(seed, index)
    kind = KINDS[index % len(KINDS)]
    subject = draws.one(0, len(_subjects()) - 1)
    parts = _subjects()[subject]
    things = _things(draws, subject)
    wordings = [draws.one(0, _WORDINGS - 1) for _ in parts]
    time_first = draws.one(0, 1)
    first = _sentence(subject, things, wordings, time_first)
    if kind == "reworded":
        wordings = [1 - wording for wording in wordings]
        time_first = 1 - time_first
    elif kind == "one word changed":
        things[_WHAT] = _another(draws, len(parts[_WHAT]), things[_WHAT])
    elif kind == "same subject":
        for part in (_WHO, _DOES, _WHAT, _WHERE):
            things[part] = _another(draws, len(parts[part]), things[part])
    else:
        subject = _another(draws, len(_subjects()), subject)
        things = _things(draws, subject)
    return SentencePair(first, _sentence(subject, things, wordings, time_first), kind)
