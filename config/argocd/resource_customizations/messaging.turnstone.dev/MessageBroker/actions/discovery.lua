-- What can be done to a MessageBroker.
local paused = (obj.metadata.annotations or {})["messaging.turnstone.dev/paused"] == "true"
local asleep = (obj.spec or {}).replicas == 0
local actions = {}
actions["pause"] = {["disabled"] = paused}
actions["resume"] = {["disabled"] = not paused}
actions["hibernate"] = {["disabled"] = asleep}
actions["wake"] = {["disabled"] = not asleep}
return actions
