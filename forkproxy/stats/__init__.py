"""stats: everything that is shown, computed from the plan and the shared state, all from one table.

``columns.py`` the table of columns (names, order, tags, metric families), ``model.py`` rows from counters, server state and plan,
``csv.py`` the formats of
"show stat", ``info.py`` the fields of "show info", ``workers.py`` what psutil knows of each worker, ``families.py`` the metric
families, ``exposition.py`` their text,
``query.py`` the exporter's query parameters, ``service.py`` the exporter inside a worker. Reads, never writes; opens no socket.
"""
