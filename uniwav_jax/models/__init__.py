"""The networks: encoder, Flow Matching decoder, masking, codebooks, teacher, discriminator."""
