"""Procedural chest X-rays: as many patients as you like, at sites whose films differ."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.labels import MULTILABEL, LabelSpace
from keras_transfer.core.seeds import generator
from keras_transfer.data import records
from tfrecords_builders import sources
from tfrecords_builders.phantom import cases, film, render

_TEST_FRACTION, _VAL_FRACTION = 0.2, 0.1
_GOLDEN = (5**0.5 - 1) / 2


def _findings(text: str) -> tuple[str, ...]:
    """Parses a list of findings; their order is always the same."""
    names = sources.words(text)
    for name in names:
        if name not in cases.FINDINGS:
            raise ValueError(f"unknown finding {name!r}.{did_you_mean(name, cases.FINDINGS)}")
    if not names:
        raise ValueError("no finding")
    return tuple(name for name in cases.FINDINGS if name in names)


class Phantom(sources.Source):
    """Chest X-rays drawn from a seed, labelled for several findings at once.

    A patient is a pure function of (seed, number), an image of (patient, number): a set of 100
    patients is contained in one of 1,000, patients keep their split, and the same patients can be
    filmed at another site. Labels are true, but as in labels read from reports some are uncertain
    (drawn at random from all) and some absent findings are not mentioned.
    """

    name = "phantom"
    description = "Procedural, schematic chest X-rays with drawn findings; not of real patients."
    licence = "CC0 1.0 (no rights are claimed on drawn images)"
    needs_input_dir = False
    encoding = "png"
    options = (
        sources.Option(
            "num_patients", 500, "patients in all splits", sources.integer(1, 10**7), named="always"
        ),
        sources.Option(
            "site",
            "a",
            "a digital, b old and flat, c equalised and sharpened, d portables of an ICU",
            sources.choice(*film.SITES),
            named="always",
        ),
        sources.Option("size", 64, "pixels of a side", sources.integer(32, 2048), named="always"),
        sources.Option(
            "shift",
            1.0,
            "how far the films are from site a: 0 like site a, 1 like the named site",
            sources.number(0, 1),
        ),
        sources.Option(
            "findings",
            tuple(cases.FINDINGS),
            "findings that are drawn and labelled",
            _findings,
            show=sources.show_words,
        ),
        sources.Option(
            "prevalence", 1.0, "factor on how often findings occur", sources.number(0, 10)
        ),
        sources.Option("uncertain", 0.05, "share of uncertain labels", sources.number(0, 1)),
        sources.Option(
            "not_mentioned",
            0.1,
            "share of the absent findings that are not mentioned",
            sources.number(0, 1),
        ),
        sources.Option("images_per_patient", 2.0, "mean number of images", sources.number(1, 100)),
    )

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        self._style = film.style_of(self.settings["site"], self.settings["shift"])
        if self.settings["uncertain"] + self.settings["not_mentioned"] > 1:
            raise UserError("--options: uncertain and not_mentioned add up to more than 1.")

    @property
    def bits(self) -> int:
        """16 where the site stores 16 bits: all of them are used, as in PadChest."""
        return self._style.bits

    @property
    def labels(self) -> LabelSpace:
        """The findings, in alphabetical order."""
        return LabelSpace(MULTILABEL, self.settings["findings"])

    def items(self) -> Iterator[sources.Item | sources.Dropped]:
        """Yields the images of all patients."""
        for number in range(self.settings["num_patients"]):
            who, split = self._patient(number), self._split(number)
            for image in range(who.images):
                case = self._case(who, image)
                yield sources.Item(
                    example_id=f"s{self.seed}-p{number:06d}-{image}",
                    split=split,
                    source=f"{number}/{image}",
                    label=self._states(case),
                    patient_id=f"s{self.seed}-p{number:06d}",
                    view=case.view,
                    sex=who.sex,
                    age=str(who.age),
                )

    def load(self, item: sources.Item) -> np.ndarray:
        """Draws a film, uint8 or uint16 [size, size]."""
        number, image = map(int, item.source.split("/"))
        case = self._case(self._patient(number), image)
        return render.render(case, self._style, self.settings["size"])

    def _patient(self, number: int) -> cases.Patient:
        return cases.patient(self.seed, number, self.settings["images_per_patient"])

    def _case(self, who: cases.Patient, image: int) -> cases.Case:
        return cases.case(
            self.seed,
            who,
            image,
            findings=self.settings["findings"],
            prevalence=self.settings["prevalence"],
            ap_share=self._style.ap_share,
        )

    def _split(self, number: int) -> str:
        # Multiples of the golden ratio fill [0, 1) evenly: shares are right for any number of
        # patients, and no patient changes sides when more are added.
        position = (number * _GOLDEN + generator(self.seed, "phantom", "split").random()) % 1
        if position < _TEST_FRACTION:
            return "test"
        return "val" if position < _TEST_FRACTION + _VAL_FRACTION else "train"

    def _states(self, case: cases.Case) -> tuple[int, ...]:
        rng = generator(self.seed, "phantom", "report", case.patient.number, case.number)
        states = []
        for name, chance in zip(cases.FINDINGS, rng.random(len(cases.FINDINGS)).tolist()):
            present = name in case.severity
            uncertain, silent = self.settings["uncertain"], self.settings["not_mentioned"]
            if name not in self.settings["findings"]:
                continue
            if chance < uncertain:
                states.append(records.UNCERTAIN)
            elif present:
                states.append(records.POSITIVE)
            else:
                left_out = chance < uncertain + silent
                states.append(records.NOT_MENTIONED if left_out else records.NEGATIVE)
        return tuple(states)


SOURCE = Phantom
