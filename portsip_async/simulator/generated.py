"""Generates the people, phones, statuses and settings of extensions, and the PBX's defaults.

Nothing is stored: an extension's index and the seed always give the same values.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

_PEOPLE = (
    ("Ann", "Baker"), ("Björn", "Lindqvist"), ("Chloé", "Moreau"), ("David", "Okafor"),
    ("Elena", "Petrova"), ("Felix", "Sørensen"), ("Grace", "Tanaka"), ("Henry", "Ward"),
    ("Inês", "Almeida"), ("Jack", "Brown"), ("Katja", "Müller"), ("Liam", "Carter"),
    ("Maria", "Ferreira"), ("Nina", "Novak"), ("Oscar", "Vidal"), ("Priya", "Raman"),
)  # fmt: skip
_PHONES = (("Yealink", "T54W"), ("Snom", "D785"), ("Grandstream", "GXP2170"), ("PortSIP", "App"))
_STATUSES = ("OFFLINE", "OFFLINE", "ONLINE", "ONLINE", "ONLINE", "ONLINE", "RINGING", "ON_CALL")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PROFILE = (
    "first_name", "last_name", "gender", "email", "mobile_phone", "work_phone", "home_phone",
    "twitter", "facebook", "linkedin", "instagram", "description",
)  # fmt: skip
_TO_ASCII = str.maketrans("éöüøêâó", "eouoeao")
_MASK = 0xFFFFFFFF
# Ids are numbers multiplied by an odd one, so that neighbours look unlike each other.
_MASK40 = 0xFFFFFFFFFF
_ODD = 0x9E3779B97F | 1
_INVERSE = pow(_ODD, -1, _MASK40 + 1)


def hash32(*numbers: int) -> int:
    """Hash whole numbers into 32 bits that look random, but are the same every time."""
    mixed = 0x9E3779B9
    for number in numbers:
        mixed = (mixed ^ number) * 0x85EBCA6B & _MASK
        mixed ^= mixed >> 15
    mixed = mixed * 0xC2B2AE35 & _MASK
    return mixed ^ mixed >> 16


def opaque_id(number: int, kind: int) -> str:
    """Return an id like those in the vendor's samples; `number_of_id` turns it back.

    Args:
        number: a whole number below 2**40.
        kind: a digit, different for each kind of resource.
    """
    mixed = (number + 1) * _ODD & _MASK40
    return b64encode(b"%d" % (700_000_000_000_000_000 + kind * 10**16 + mixed)).decode()


def number_of_id(text: str, kind: int) -> int | None:
    """Return the number of an id of a kind; None if it is not such an id."""
    try:
        digits = int(b64decode(text, validate=True))
    except ValueError:
        return None
    mixed = digits - 700_000_000_000_000_000 - kind * 10**16
    number = (mixed * _INVERSE & _MASK40) - 1
    return number if number >= 0 and opaque_id(number, kind) == text else None


def person(index: int, seed: int, number: str) -> tuple[str, str, str]:
    """Generate a first name, a last name and an email address."""
    bits = hash32(index, seed)
    first = _PEOPLE[bits & 15][0]
    last = _PEOPLE[bits >> 4 & 15][1]
    return first, last, f"{first}.{last}.{number}@pbx.example".lower().translate(_TO_ASCII)


def phone(index: int, seed: int) -> tuple[str, str, str]:
    """Generate a phone: its user agent, its MAC address and its model."""
    bits = hash32(index, seed, 1)
    maker, model = _PHONES[bits & 3]
    return f"{maker} {model}", f"{0x001565000000 + (bits >> 8):012X}", model


def status_at(index: int, seed: int, seconds: float, period: float) -> str:
    """Generate the status of an extension at a time.

    Args:
        index: the index of the extension.
        seed: the seed of the simulator.
        seconds: seconds since the simulator was created.
        period: seconds that a status lasts; 0 means forever. Each extension has an offset of its
            own, so they don't all change at once.
    """
    slot = int(seconds / period + status_offset(index, seed)) if period else 0
    return _STATUSES[hash32(index, seed, slot) & 7]


def status_offset(index: int, seed: int) -> float:
    """Generate by how much of a period, from 0 to 1, an extension is ahead of the simulator."""
    return (hash32(index, seed, 2) & 0xFFFF) / 0x10000


def settings(index: int, seed: int, number: str) -> dict[str, Any]:
    """Generate all the settings of an extension."""
    first, last, email = person(index, seed, number)
    bits = hash32(index, seed, 3)
    generated = {
        "extension_number": number,
        "password": f"sip-{bits:08x}",
        "web_access_password": f"web-{bits ^ 0x5A5A5A5A:08x}",
        **_defaults(),
    }
    generated["profile"].update(first_name=first, last_name=last, email=email)
    generated["voice_mail"]["voicemail_pin"] = f"{bits % 1_000_000:06}"
    return generated


def with_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Add the PBX's defaults to the fields of a new extension."""
    return _merge(_defaults(), fields)


def _defaults() -> dict[str, Any]:
    away = {
        "office_hours_action": "CONNECT_TO_VOICE_MAIL",
        "office_hours_action_value": "",
        "outside_office_hours_action": "CONNECT_TO_VOICE_MAIL",
        "outside_office_hours_action_value": "",
    }
    return {
        "profile": dict.fromkeys(_PROFILE, "") | {"gender": "MALE"},
        "options": {
            "enable_audio_record_calls": False,
            "enable_video_record_calls": False,
            "enable_extension": True,
        },
        "voice_mail": {
            "enable_voicemail": True,
            "prompt_language": "en-us",
            "enable_vm_pin_auth": True,
            "voicemail_pin": "",
            "enable_play_caller_id": False,
            "msg_read_out_datetime": "DO_NOT_READ",
        },
        "forward_rules": {
            "available": {
                "no_answer_timeval": 20,
                "no_answer_action": "CONNECT_TO_VOICE_MAIL",
                "no_answer_action_value": "",
                "busy_action": "CONNECT_TO_VOICE_MAIL",
                "busy_action_value": "",
            },
            "offline": dict(away),
            "dnd": dict(away),
            "away": dict(away),
        },
        "office_hours": {
            "office_hours_mode": "CUSTOM",
            **{f"{day}_from": "09:00" for day in _DAYS},
            **{f"{day}_to": "17:00" for day in _DAYS},
        },
    }


def _merge(defaults: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for name, value in fields.items():
        default: Any = merged.get(name)
        both = isinstance(default, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(default, value) if both else value
    return merged
