"""The part of JSON Schema (draft 2020-12) that our own schemas use: enough to check a document without a package."""

_TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
}
_KNOWN = {"$schema", "$id", "title", "description", "format", "type", "enum", "const", "required", "properties",
          "items", "additionalProperties", "minimum", "$ref", "oneOf", "anyOf"}


def _is(value, name):
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, _TYPES[name]) and not (name != "boolean" and isinstance(value, bool))


def problems(value, schema, schemas=None, where="$"):
    """Messages for everything in `value` that `schema` does not allow. `schemas` resolves references by $id."""
    unknown = set(schema) - _KNOWN
    if unknown:
        return [f"{where}: this checker does not know {', '.join(sorted(unknown))}"]
    if "$ref" in schema:
        name, _, pointer = schema["$ref"].partition("#")
        target = schemas[name]
        for step in pointer.strip("/").split("/") if pointer.strip("/") else []:
            target = target[step]
        return problems(value, target, schemas, where)
    found = []
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is(value, name) for name in names):
            return [f"{where}: expected {' or '.join(names)}, found {type(value).__name__} {value!r:.60}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: {value!r} is none of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{where}: {value!r} is not {schema['const']!r}")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{where}: {value!r} is below {schema['minimum']}")
    for word in ("oneOf", "anyOf"):
        if word in schema:
            matching = sum(not problems(value, one, schemas, where) for one in schema[word])
            if matching == 0 or (word == "oneOf" and matching > 1):
                found.append(f"{where}: matches {matching} of {word}")
    if isinstance(value, dict):
        found += [f"{where}: lacks {name}" for name in schema.get("required", []) if name not in value]
        properties = schema.get("properties", {})
        for name, member in value.items():
            inner = properties.get(name, schema.get("additionalProperties", True))
            if inner is False:
                found.append(f"{where}: {name} is not allowed")
            elif isinstance(inner, dict):
                found += problems(member, inner, schemas, f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for index, element in enumerate(value):
            found += problems(element, schema["items"], schemas, f"{where}[{index}]")
    return found
