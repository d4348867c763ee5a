"""What works with what, found by trying: every method on a tiny random model of every family, in float64, feature by feature.

    python -m codetune.probe            tries all, and writes codetune/assets/compatibility.json
    python -m codetune.probe llama      only these families or methods; the others stay as they were found
"""
