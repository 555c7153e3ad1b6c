"""Whether JSON instances are valid, by the library of JSON Schema that Python knows best.

Reads {"cases": [{"schema": …, "instances": […]}, …]} from stdin; answers with what is wrong with each instance, or null.
"""

import json
import sys

from jsonschema import FormatChecker
from jsonschema.validators import validator_for


def wrong(validator, instance):
    error = min(validator.iter_errors(instance), key=lambda error: error.path, default=None)
    return None if error is None else f"{error.json_path}: {error.message[:300]}"


def check(case):
    schema = case["schema"]
    kind = validator_for(schema)
    kind.check_schema(schema)
    validator = kind(schema, format_checker=FormatChecker())
    return [wrong(validator, instance) for instance in case["instances"]]


json.dump([check(case) for case in json.load(sys.stdin)["cases"]], sys.stdout)
