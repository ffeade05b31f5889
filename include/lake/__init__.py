"""The lake: Delta tables, stages, publishing, publish records, content fingerprints and compaction.

It may import ``include.core`` and ``include.spec``. Steps use ``lake.Lake`` and ``reader.LakeReader``.
"""
