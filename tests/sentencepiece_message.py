"""SentencePiece's message in protobuf, to change model files and to compare with."""

import functools

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "tests.sentencepiece"
# Field: number, type, default. "*" is a list.
_MESSAGES: dict[str, dict[str, tuple[int, str, str]]] = {
    "Piece": {"piece": (1, "string", ""), "score": (2, "float", "0"), "type": (3, "int32", "1")},
    "Trainer": {
        "model_type": (3, "int32", "1"),
        "treat_whitespace_as_suffix": (24, "bool", "false"),
        "byte_fallback": (35, "bool", "false"),
    },
    "Normalizer": {
        "precompiled_charsmap": (2, "bytes", ""),
        "add_dummy_prefix": (3, "bool", "true"),
        "remove_extra_whitespaces": (4, "bool", "true"),
        "escape_whitespaces": (5, "bool", "true"),
    },
    "Model": {
        "pieces": (1, "*Piece", ""),
        "trainer_spec": (2, "Trainer", ""),
        "normalizer_spec": (3, "Normalizer", ""),
    },
}


@functools.cache
def message_class():
    """The class of the whole file's message, with the fields that are read here; others are kept."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, default) in fields.items():
            label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if kind.lstrip("*") in _MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind.lstrip('*')}"
            else:
                added.type, added.default_value = getattr(kinds, f"TYPE_{kind.upper()}"), default
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))
