-- What can be done to an object that lives in a broker.
local planned = (obj.metadata.annotations or {})["messaging.turnstone.dev/plan"] == "true"
local actions = {}
actions["plan"] = {["disabled"] = planned}
actions["apply"] = {["disabled"] = not planned}
return actions
