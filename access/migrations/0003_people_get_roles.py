from django.db import migrations


def give_roles(apps, schema_editor):
    """Until now every member of staff could do everything that pages offer."""
    Group = apps.get_model("auth", "Group")
    User = apps.get_model("access", "User")
    owner, _ = Group.objects.get_or_create(name="Owner")
    operator, _ = Group.objects.get_or_create(name="Operator")
    owner.user_set.add(*User.objects.filter(is_superuser=True))
    operator.user_set.add(*User.objects.filter(is_staff=True, is_superuser=False))


class Migration(migrations.Migration):
    dependencies = [("access", "0002_roles_and_audit")]

    # What roles hold is filled in after the migration, when the permissions exist.
    operations = [migrations.RunPython(give_roles, migrations.RunPython.noop)]
