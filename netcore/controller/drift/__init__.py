"""Drift: what others change of ours is noticed, put right a bounded number of times, and said.

kernel.all_namespaces, kernel.file_watch ─▶ notices (pure) ─▶ watch ─▶ comparisons: pins, kernel_objects, tables, ports
                                                                └────▶ plan.drift (pure): how often
"""
