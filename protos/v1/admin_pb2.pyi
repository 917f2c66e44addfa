from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Residence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESIDENCE_UNSPECIFIED: _ClassVar[Residence]
    RESIDENCE_LOADED: _ClassVar[Residence]
    RESIDENCE_ON_DEMAND: _ClassVar[Residence]
    RESIDENCE_FAILED: _ClassVar[Residence]
    RESIDENCE_UNLOADED: _ClassVar[Residence]
RESIDENCE_UNSPECIFIED: Residence
RESIDENCE_LOADED: Residence
RESIDENCE_ON_DEMAND: Residence
RESIDENCE_FAILED: Residence
RESIDENCE_UNLOADED: Residence

class LoadModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelState
    def __init__(self, model: _Optional[_Union[ModelState, _Mapping]] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: ModelState
    def __init__(self, model: _Optional[_Union[ModelState, _Mapping]] = ...) -> None: ...

class ListStatesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListStatesResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelState]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelState, _Mapping]]] = ...) -> None: ...

class ModelState(_message.Message):
    __slots__ = ("model", "residence", "reason", "digest", "bytes", "running")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESIDENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    model: str
    residence: Residence
    reason: str
    digest: str
    bytes: int
    running: int
    def __init__(self, model: _Optional[str] = ..., residence: _Optional[_Union[Residence, str]] = ..., reason: _Optional[str] = ..., digest: _Optional[str] = ..., bytes: _Optional[int] = ..., running: _Optional[int] = ...) -> None: ...
