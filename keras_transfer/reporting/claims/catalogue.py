"""The sentences of arXiv:2106.00116 and of its poster that compare scales or sources.

Sentences that say the same of the same cells are one claim, with all places. A sentence that only
sets two others side by side (few-shot gains are striking from natural to natural, unlike from
medical to medical) is examined as those two. Sentences on spread ("variance is larger") compare no
scales and are left out. What a sentence excepts, here or in its place, is left out of its claim.
"""

from keras_transfer.reporting.claims.terms import (
    ALL_SHOTS,
    AS_GOOD,
    FEW,
    IMPROVES,
    IMPROVES_LITTLE,
    LOWEST,
    MOST,
    NATURAL_TARGETS,
    NEARLY_EVERY,
    NO_GAIN,
    NOT_SIGNIFICANT,
    SAME,
    SMALL_XRAYS,
    SOME,
    XRAYS,
    Claim,
    Gain,
    Question,
    both_scales,
    data_scale,
    either_scale,
    every_medical_source,
    larger_in_full_shot,
    larger_than_in_full_shot,
    larger_than_on,
    medical_over_natural,
    model_scale,
    smallest_and_largest,
)
from keras_transfer.reporting.collection import FULL
from keras_transfer.reporting.paper.names import (
    LARGE_NET,
    LARGE_XRAYS,
    MEDICAL,
    NATURAL,
    SMALL_NET,
    medical_sources,
)

_CIFAR, _FLOWERS, _PADCHEST = ("cifar10", "cifar100"), ("flowers102",), ("padchest_cl",)
_ALL_XRAYS = (*LARGE_XRAYS, *SMALL_XRAYS)

_BEST_NATURAL = (LARGE_NET, "imagenet21k")
_BEST_MEDICAL = tuple(
    (arch, source) for arch in (SMALL_NET, LARGE_NET) for source in medical_sources("padchest_cl")
)

_NEAR = (
    Claim("near-full", "paper: abstract, 1, 4",
          "Close source and target: more model or data improves full-shot transfer.",
          IMPROVES, either_scale(NATURAL_TARGETS, NATURAL) + either_scale(XRAYS, MEDICAL)),
    Claim("near-few", "paper: abstract",
          "Close source and target: the same holds in few-shot transfer.", IMPROVES,
          either_scale(NATURAL_TARGETS, NATURAL, FEW) + either_scale(XRAYS, MEDICAL, FEW),
          disputes="medical-few-none"),
    Claim("poster-near-model", "poster: results",
          "Within a domain: consistent improvement with model scale.", IMPROVES,
          model_scale(NATURAL_TARGETS, NATURAL) + model_scale(_ALL_XRAYS, MEDICAL)),
    Claim("poster-near-data", "poster: results",
          "Within a domain: improvement with data scale in almost all cases.", IMPROVES,
          data_scale(NATURAL_TARGETS, NATURAL) + data_scale(_ALL_XRAYS, MEDICAL), NEARLY_EVERY),
    Claim("poster-both-scales", "poster: conclusion",
          "Much more model and data together help within and, on large targets, between domains.",
          IMPROVES, both_scales(NATURAL_TARGETS, NATURAL) + both_scales(_ALL_XRAYS, MEDICAL)
          + both_scales(LARGE_XRAYS, NATURAL)),
)  # fmt: skip

_NATURAL = (
    Claim("natural-model", "paper: 3.3, Table 1, 4",
          "Natural to natural: the larger network improves full-shot transfer on all targets.",
          IMPROVES, model_scale(NATURAL_TARGETS, NATURAL)),
    Claim("natural-data", "paper: 3.3, Table 1, 4",
          "Natural to natural: ImageNet-21k improves full-shot transfer on all targets.",
          IMPROVES, data_scale(NATURAL_TARGETS, NATURAL)),
    Claim("cifar-model", "paper: 3.3",
          "CIFAR-10 and -100: the larger network improves full and few-shot transfer.",
          IMPROVES, model_scale(_CIFAR, NATURAL, ALL_SHOTS)),
    Claim("cifar-data", "paper: 3.3",
          "CIFAR-10 and -100: more data improves full and few-shot transfer.",
          IMPROVES, data_scale(_CIFAR, NATURAL, ALL_SHOTS)),
    Claim("flowers-model", "paper: 3.3",
          "Flowers-102: the larger network improves full and few-shot transfer.",
          IMPROVES, model_scale(_FLOWERS, NATURAL, ALL_SHOTS)),
    Claim("flowers-data", "paper: 3.3",
          "Flowers-102: more data improves full and few-shot transfer.",
          IMPROVES, data_scale(_FLOWERS, NATURAL, ALL_SHOTS)),
    Claim("natural-few", "paper: 3.3, 4; poster: results",
          "Natural to natural: strong few-shot improvement with more model or data.",
          IMPROVES, either_scale(NATURAL_TARGETS, NATURAL, FEW)),
    Claim("natural-20-points", "paper: 3.3",
          "Natural to natural with 1 or 5 shots: in some cases more than 20 points.",
          IMPROVES, either_scale(NATURAL_TARGETS, NATURAL, LOWEST), SOME, by=20.0),
    Claim("natural-fades", "paper: 3.3, 4",
          "Natural to natural: gains with 1 or 5 shots are larger than in full shot.", IMPROVES,
          larger_than_in_full_shot(either_scale(NATURAL_TARGETS, NATURAL, LOWEST))),
)  # fmt: skip

_MEDICAL = (
    Claim("medical-model", "paper: 3.3, Table 2, 4",
          "Medical to medical: the larger network improves full-shot transfer on all targets.",
          IMPROVES, every_medical_source(XRAYS)),
    Claim("medical-data", "paper: 3.3, Table 2, 4",
          "Medical to medical: the largest union improves full-shot transfer on all targets.",
          IMPROVES, data_scale(XRAYS, MEDICAL)),
    Claim("medical-data-padchest-least", "paper: 3.3",
          "Medical to medical: data scale helps COVIDx and Tuberculosis more than PadChest-Cl.",
          IMPROVES, larger_than_on(data_scale(SMALL_XRAYS, MEDICAL),
                                   data_scale(_PADCHEST * 2, MEDICAL))),
    Claim("medical-data-comparable", "paper: 3.3",
          "Medical to medical: data scale helps Tuberculosis as much as COVIDx.",
          SAME, larger_than_on(data_scale(("tuberculosis",), MEDICAL),
                               data_scale(("covidx",), MEDICAL))),
    Claim("medical-few-inconsistent", "paper: 3.3",
          "Medical to medical: few-shot improvement is not consistent (missing somewhere).",
          NO_GAIN, either_scale(XRAYS, MEDICAL, FEW), SOME),
    Claim("medical-few-none", "paper: 4; poster: results",
          "Medical to medical: no clear improvement in few-shot transfer.",
          NO_GAIN, either_scale(XRAYS, MEDICAL, FEW), disputes="near-few"),
    Claim("medical-lowest-same", "paper: 3.3",
          "Medical to medical with 1 or 5 shots: no significant difference between scales.",
          NOT_SIGNIFICANT, either_scale(XRAYS, MEDICAL, LOWEST)),
    Claim("medical-grows", "paper: 3.3, 4",
          "Medical to medical: gains in full shot are larger than with 1 or 5 shots.", IMPROVES,
          larger_in_full_shot(either_scale(XRAYS, MEDICAL, LOWEST))),
)  # fmt: skip

_FAR = (
    Claim("far-full", "paper: abstract, Table 1, 4; poster: results, conclusion",
          "Natural to medical, but for PadChest-Cl: no full-shot improvement with model or data.",
          NO_GAIN, either_scale(SMALL_XRAYS, NATURAL)),
    Claim("far-not-everywhere", "paper: 1, 4",
          "Natural to medical: no improvement across all conditions (missing somewhere).",
          NO_GAIN, either_scale(XRAYS, NATURAL), SOME),
    Claim("far-few", "paper: abstract, 1; poster: results",
          "Natural to medical: no improvement in few-shot transfer.",
          NO_GAIN, either_scale(XRAYS, NATURAL, FEW)),
    Claim("far-small-full", "paper: 3.3, 4",
          "Natural to COVIDx and Tuberculosis: no difference between scales in full shot.",
          SAME, either_scale(SMALL_XRAYS, NATURAL)),
    Claim("far-small-few", "paper: 4",
          "Natural to COVIDx and Tuberculosis: no substantial difference in few-shot transfer.",
          SAME, either_scale(SMALL_XRAYS, NATURAL, FEW)),
    Claim("padchest-data", "paper: 3.3",
          "Natural to PadChest-Cl: more data improves full-shot transfer.",
          IMPROVES, data_scale(_PADCHEST, NATURAL)),
    Claim("padchest-model", "paper: 3.3",
          "Natural to PadChest-Cl: the larger network improves full-shot transfer.",
          IMPROVES, model_scale(_PADCHEST, NATURAL)),
    Claim("padchest-model-very-small", "paper: 3.3",
          "Natural to PadChest-Cl: the gain of the larger network is very small.",
          IMPROVES_LITTLE, model_scale(_PADCHEST, NATURAL), disputes="poster-far-large-model"),
    Claim("padchest-small", "paper: 1, 4",
          "Natural to PadChest-Cl: full-shot gains from model or data are small.",
          IMPROVES_LITTLE, either_scale(_PADCHEST, NATURAL), disputes="poster-far-large-data"),
    Claim("poster-far-large-model", "poster: results",
          "Natural to large X-ray targets: the larger network clearly improves full-shot transfer.",
          IMPROVES, model_scale(LARGE_XRAYS, NATURAL), disputes="padchest-model-very-small"),
    Claim("poster-far-large-data", "poster: results",
          "Natural to large X-ray targets: more data clearly improves full-shot transfer.",
          IMPROVES, data_scale(LARGE_XRAYS, NATURAL), disputes="padchest-small"),
    Claim("padchest-few-none", "paper: 4",
          "Natural to PadChest-Cl: no improvement in few-shot transfer.",
          NO_GAIN, either_scale(_PADCHEST, NATURAL, FEW)),
)  # fmt: skip

_SOURCES = (
    Claim("medical-over-natural-full", "paper: 3.3",
          "X-ray targets, full shot: medical sources beat natural ones in most cases.",
          IMPROVES, medical_over_natural(XRAYS), MOST),
    Claim("medical-over-natural-few", "paper: 3.3",
          "X-ray targets, few shots: medical sources beat natural ones in most cases.",
          IMPROVES, medical_over_natural(XRAYS, FEW), MOST),
    Claim("on-par-few", "paper: 3.3",
          "COVIDx and Tuberculosis, few shots: natural sources are on par in some cases.",
          SAME, medical_over_natural(SMALL_XRAYS, FEW), SOME),
    Claim("padchest-few-medical", "paper: 3.3",
          "PadChest-Cl, few shots: medical sources are consistently better than natural ones.",
          IMPROVES, medical_over_natural(_PADCHEST, FEW)),
    Claim("padchest-on-par", "paper: 1, 3.3, 4",
          "PadChest-Cl: R152x4 on ImageNet-21k is on par with the best medical pre-training.",
          SAME, (Question(Gain("padchest_cl", FULL, (_BEST_NATURAL,), _BEST_MEDICAL)),)),
    Claim("poster-as-good", "poster: conclusion",
          "Large X-ray targets: R152x4 on ImageNet-21k can be as good as, or better than, "
          "networks of the largest medical source.",
          AS_GOOD, tuple(
              Question(Gain(target, FULL, (_BEST_NATURAL,), tuple(
                  (arch, smallest_and_largest(MEDICAL, target)[1])
                  for arch in (SMALL_NET, LARGE_NET))))
              for target in LARGE_XRAYS), SOME),
)  # fmt: skip

CLAIMS = _NEAR + _NATURAL + _MEDICAL + _FAR + _SOURCES
