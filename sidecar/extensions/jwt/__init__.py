"""JSON Web Tokens as Envoy reads them: tokens, keys, and who may ask with what."""
