"""Prepared data: sources to a cleaned, deduplicated, decontaminated, split folder of Parquet files, and that folder read again.

    work on each part of the sources (a map)      `clean`     documents, fingerprints, an account of what was left out
    over all parts (one sort)                     `settle`    duplicates, splits
    write                                         `write`     Parquet files, `manifest.json`, a card
    work on each file (a map), where asked        `tokens`    token ids and packed rows
"""
