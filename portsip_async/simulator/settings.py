"""The people and settings that a simulated PBX makes up, each from its place and the seed.

Nothing is stored: the same place and seed give the same extension, whenever it is asked for.
"""

from collections.abc import Mapping
from typing import Any

_PEOPLE = (
    ("Ann", "Baker"), ("Björn", "Lindqvist"), ("Chloé", "Moreau"), ("David", "Okafor"),
    ("Elena", "Petrova"), ("Felix", "Sørensen"), ("Grace", "Tanaka"), ("Henry", "Ward"),
    ("Inês", "Almeida"), ("Jack", "Brown"), ("Katja", "Müller"), ("Liam", "Carter"),
    ("Maria", "Ferreira"), ("Nina", "Novak"), ("Oscar", "Vidal"), ("Priya", "Raman"),
)  # fmt: skip
_PHONES = (("Yealink", "T54W"), ("Snom", "D785"), ("Grandstream", "GXP2170"), ("PortSIP", "App"))
_PRESENCES = ("OFFLINE", "OFFLINE", "ONLINE", "ONLINE", "ONLINE", "ONLINE", "RINGING", "ON_CALL")
_LOW = str.maketrans("éöüøêâó", "eouoeao")
_MASK = 0xFFFFFFFF


def mix(*numbers: int) -> int:
    """Mix whole numbers into 32 bits that look like chance, the same ones every time."""
    mixed = 0x9E3779B9
    for number in numbers:
        mixed = (mixed ^ number) * 0x85EBCA6B & _MASK
        mixed ^= mixed >> 15
    mixed = mixed * 0xC2B2AE35 & _MASK
    return mixed ^ mixed >> 16


def person(place: int, seed: int, number: str) -> tuple[str, str, str]:
    """Make up a first name, a last name and an email address."""
    mixed = mix(place, seed)
    first = _PEOPLE[mixed & 15][0]
    last = _PEOPLE[mixed >> 4 & 15][1]
    return first, last, f"{first}.{last}.{number}@pbx.example".lower().translate(_LOW)


def phone(place: int, seed: int) -> tuple[str, str, str]:
    """Make up a telephone: its user agent, its MAC address and its model."""
    mixed = mix(place, seed, 1)
    maker, model = _PHONES[mixed & 3]
    return f"{maker} {model}", f"{0x001565000000 + (mixed >> 8):012X}", model


def presence(place: int, seed: int, seconds: float, period: float) -> str:
    """Tell what an extension does at a time.

    Args:
        place: the extension's place.
        seed: the simulator's seed.
        seconds: since the simulator was made.
        period: seconds that a status lasts; 0: it never changes. Extensions change at times of
            their own, not all at once.
    """
    mixed = mix(place, seed, 2)
    slot = int(seconds / period + (mixed & 0xFFFF) / 0x10000) if period else 0
    return _PRESENCES[mix(place, seed, slot) & 7]


def settings(place: int, seed: int, number: str) -> dict[str, Any]:
    """Make up all the settings of an extension."""
    first, last, email = person(place, seed, number)
    mixed = mix(place, seed, 3)
    made = {
        "extension_number": number,
        "password": f"sip-{mixed:08x}",
        "web_access_password": f"web-{mixed ^ 0x5A5A5A5A:08x}",
        **_sections(),
    }
    made["profile"].update(first_name=first, last_name=last, email=email)
    made["voice_mail"]["voicemail_pin"] = f"{mixed % 1_000_000:06}"
    return made


def created(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill what a new extension was given up with the PBX's defaults."""
    return _merged(_sections(), given)


def _sections() -> dict[str, Any]:
    away = {
        "office_hours_action": "CONNECT_TO_VOICE_MAIL",
        "office_hours_action_value": "",
        "outside_office_hours_action": "CONNECT_TO_VOICE_MAIL",
        "outside_office_hours_action_value": "",
    }
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    return {
        "profile": {
            "first_name": "",
            "last_name": "",
            "gender": "MALE",
            "email": "",
            "mobile_phone": "",
            "work_phone": "",
            "home_phone": "",
            "twitter": "",
            "facebook": "",
            "linkedin": "",
            "instagram": "",
            "description": "",
        },
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
            **{
                f"{day}_{end}": at
                for day in days
                for end, at in (("from", "09:00"), ("to", "17:00"))
            },
        },
    }


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(below, value)
        else:
            merged[name] = value
    return merged
