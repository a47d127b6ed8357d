"""From run directories to tables, figures and a page: functions of rows, without TensorFlow.

``write_report`` is the verb behind ``experiments.report``; the modules behind it (``collect``,
``tables``, ``figures``, ``page``) can be used alone, in a notebook for instance.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submodules=["collect", "figures", "page", "published", "style", "tables"],
    submod_attrs={
        "report": ["Report", "write_report"],
        "wording": ["statements"],
    },
)
