"""Making encoders: distilling a static one, exporting a transformer to ONNX.

The libraries this takes (torch among them) are extras, loaded only when a function is called.
"""
