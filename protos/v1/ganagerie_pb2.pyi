from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_BULK: _ClassVar[Priority]

class TruncationMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRUNCATION_MODE_UNSPECIFIED: _ClassVar[TruncationMode]
    TRUNCATION_MODE_THRESHOLD: _ClassVar[TruncationMode]
    TRUNCATION_MODE_SCALE: _ClassVar[TruncationMode]

class ImageFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_FORMAT_UNSPECIFIED: _ClassVar[ImageFormat]
    IMAGE_FORMAT_PNG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_JPEG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_WEBP: _ClassVar[ImageFormat]
    IMAGE_FORMAT_RAW: _ClassVar[ImageFormat]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_NORMAL: Priority
PRIORITY_BULK: Priority
TRUNCATION_MODE_UNSPECIFIED: TruncationMode
TRUNCATION_MODE_THRESHOLD: TruncationMode
TRUNCATION_MODE_SCALE: TruncationMode
IMAGE_FORMAT_UNSPECIFIED: ImageFormat
IMAGE_FORMAT_PNG: ImageFormat
IMAGE_FORMAT_JPEG: ImageFormat
IMAGE_FORMAT_WEBP: ImageFormat
IMAGE_FORMAT_RAW: ImageFormat

class GenerateRequest(_message.Message):
    __slots__ = ("model", "conditions", "truncation", "truncation_mode", "count", "seed", "format", "quality", "priority")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_MODE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    model: str
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    truncation: float
    truncation_mode: TruncationMode
    count: int
    seed: int
    format: ImageFormat
    quality: int
    priority: Priority
    def __init__(self, model: _Optional[str] = ..., conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ..., truncation: _Optional[float] = ..., truncation_mode: _Optional[_Union[TruncationMode, str]] = ..., count: _Optional[int] = ..., seed: _Optional[int] = ..., format: _Optional[_Union[ImageFormat, str]] = ..., quality: _Optional[int] = ..., priority: _Optional[_Union[Priority, str]] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("class_name", "class_index", "mixture")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    MIXTURE_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    class_index: int
    mixture: ClassMixture
    def __init__(self, class_name: _Optional[str] = ..., class_index: _Optional[int] = ..., mixture: _Optional[_Union[ClassMixture, _Mapping]] = ...) -> None: ...

class ClassMixture(_message.Message):
    __slots__ = ("classes",)
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedCompositeFieldContainer[WeightedClass]
    def __init__(self, classes: _Optional[_Iterable[_Union[WeightedClass, _Mapping]]] = ...) -> None: ...

class WeightedClass(_message.Message):
    __slots__ = ("class_name", "class_index", "weight")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    class_index: int
    weight: float
    def __init__(self, class_name: _Optional[str] = ..., class_index: _Optional[int] = ..., weight: _Optional[float] = ...) -> None: ...

class GeneratedImage(_message.Message):
    __slots__ = ("data", "seed", "index", "classes", "truncation", "truncation_mode", "width", "height", "channels", "format")
    DATA_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_MODE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    seed: int
    index: int
    classes: _containers.RepeatedCompositeFieldContainer[WeightedClass]
    truncation: float
    truncation_mode: TruncationMode
    width: int
    height: int
    channels: int
    format: ImageFormat
    def __init__(self, data: _Optional[bytes] = ..., seed: _Optional[int] = ..., index: _Optional[int] = ..., classes: _Optional[_Iterable[_Union[WeightedClass, _Mapping]]] = ..., truncation: _Optional[float] = ..., truncation_mode: _Optional[_Union[TruncationMode, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., channels: _Optional[int] = ..., format: _Optional[_Union[ImageFormat, str]] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("images", "model")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[GeneratedImage]
    model: ModelSummary
    def __init__(self, images: _Optional[_Iterable[_Union[GeneratedImage, _Mapping]]] = ..., model: _Optional[_Union[ModelSummary, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelSummary]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelSummary, _Mapping]]] = ...) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("name", "version", "architecture", "digest", "width", "height", "channels", "z_dim", "n_classes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    Z_DIM_FIELD_NUMBER: _ClassVar[int]
    N_CLASSES_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    architecture: str
    digest: str
    width: int
    height: int
    channels: int
    z_dim: int
    n_classes: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., architecture: _Optional[str] = ..., digest: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., channels: _Optional[int] = ..., z_dim: _Optional[int] = ..., n_classes: _Optional[int] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("summary", "class_names", "recommended_truncation", "card_json")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDED_TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    CARD_JSON_FIELD_NUMBER: _ClassVar[int]
    summary: ModelSummary
    class_names: _containers.RepeatedScalarFieldContainer[str]
    recommended_truncation: float
    card_json: str
    def __init__(self, summary: _Optional[_Union[ModelSummary, _Mapping]] = ..., class_names: _Optional[_Iterable[str]] = ..., recommended_truncation: _Optional[float] = ..., card_json: _Optional[str] = ...) -> None: ...
