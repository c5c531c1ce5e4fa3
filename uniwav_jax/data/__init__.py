"""From folders of speech to global batches: manifests, readers, the batch plan, Grain pipelines."""
