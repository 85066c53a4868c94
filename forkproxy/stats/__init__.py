"""stats: everything that is shown, computed from the plan and the shared state, all from one table.

``columns.py`` the table of columns (names, order, tags, metric families), ``model.py`` rows from counters, server state and plan,
``csv.py`` the formats of "show stat", ``schema.py`` what its JSON looks like, ``info.py`` the fields of "show info",
``workers.py`` what psutil knows of each worker, ``families.py`` the metric families, ``exposition.py`` their text, ``query.py``
the exporter's query parameters. ``page.py`` is the statistics page, ``html.py`` its text (with ``page.css`` and ``page.js``),
``forms.py`` its forms, ``history.py`` its charts. ``service.py`` binds exporter and page inside a worker. Reads, never writes;
opens no socket.
"""
