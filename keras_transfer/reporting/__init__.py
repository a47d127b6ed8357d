"""From run directories to tables, figures and a page: functions of rows, without TensorFlow.

``write_report`` is the verb behind ``experiments.report``. What it calls can be used alone, in a
notebook for instance:

* ``collect`` and ``published`` read runs, or the authors' files, into one ``collection``;
* ``tables`` makes means and spreads of it, in cells; ``style`` names things, ``formats`` writes
  tables as text;
* ``estimates`` and ``comparisons`` tell differences from chance, ``wording`` says them in sentences
  (made of ``phrases``), ``missing`` names what is still to be run;
* ``figures``, ``paper``, ``claims``, ``laws`` and ``proximity`` are made of those cells;
* ``page`` shows all of it.
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
